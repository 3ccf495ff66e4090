"""What Faust and aiokafka do with offsets when something goes wrong, on Apache Kafka.

``python -m bench.facts`` repeats the observations that Headwater's delivery rests on and prints them as one table;
the results are noted in docs/delivery.md. Facts 1 to 3 and 5 are about the libraries as they come, 4 about our worker.
"""
