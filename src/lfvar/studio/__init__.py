"""The studio: a page in the browser to paint a lesion, turn its knobs, look at a dataset and judge realism blind.

What the page can do is plain Python (`edit`, `measured`, `prompts`, `explore`, `judge`); `app` gives it addresses, and
`page/` shows it.
"""
