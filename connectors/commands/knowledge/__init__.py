"""`frontdesk knowledge ...` and `frontdesk search`.

syncing      sync, and following a folder
writing      add, edit, publish, retire, restore
looking      list, show, history, diff, stale
carrying     export, import
paging       adding web pages, looking at them again
searching    search
"""
