"""The live page of `processor monitor --serve`: the state of the fleet as HTML, and the server that sends it to any
number of browsers. The code here reads no log.
"""
