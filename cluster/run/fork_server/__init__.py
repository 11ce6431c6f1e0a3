"""Starts the workers of a Ray of our own by a fork of a process that has imported everything.

A new Python spends two seconds of processor time on imports before it is a host, and on a small machine everyone who
talks meanwhile feels it. `server` is what the supervisor owns, `program` the fork server, `entrance` what Ray
starts, `one_processor` how little of the machine a copy takes meanwhile.
"""
