"""Parts of a system that looks things up: passages, vectors, stores, fused lists, and this book.

`chunking` cuts documents, `embedding` turns texts into vectors, `store` keeps them, `lexical`
searches by words, `fusion` brings lists together, `generation` reaches language models, and `book`
answers questions from this book. Importing this is cheap; what is heavy is loaded where it is used.
"""
