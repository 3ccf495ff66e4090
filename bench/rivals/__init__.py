"""What a user would pick instead, measured on the same events: Faust tables, Quix Streams, Bytewax, Kafka Streams.

``job`` is the reduced job that all of them do; each ``*_job`` module runs in a virtual environment of its own
(``install``), ``race`` measures it.
"""
