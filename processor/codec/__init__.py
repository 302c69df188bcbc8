"""Record values to tasks and results to values, a module a format. How bytes of Avro are decoded is in `avro`, how
records arrive in `kafka`.
"""
