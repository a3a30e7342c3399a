"""The HTTP service in front of recall and ranking: `vidtopics serve`, docs/serving.md.

`live` has what a request is answered from (one release and its ranker) and how that changes;
`recommending` and `reading` answer; `deadlines` bounds them; `keys` and `gate` stand before them;
`app` has the routes, `server` the process. Neither Spark nor Feast is imported.
"""
