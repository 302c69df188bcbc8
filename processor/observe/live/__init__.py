"""The live page of `processor monitor --serve`: that state as HTML, and the server that sends it to browsers. It reads
no log: it shows what it is given, to any number of viewers.
"""
