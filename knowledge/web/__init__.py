"""Web pages as documents: what may be fetched, how, and how often it is looked at again."""
