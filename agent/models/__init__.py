"""Models behind one method: a prompt in, a stream of chunks out.

`base` is the contract, `openai_compatible` and `quotes` fulfil it, `routing` puts several in a row, `presets` names them.
"""
