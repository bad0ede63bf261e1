"""The work behind `frontdesk ...`, one module for each kind of command."""
