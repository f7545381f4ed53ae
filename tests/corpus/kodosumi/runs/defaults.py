"""A flow without a form takes any object, and other parameters keep their defaults."""


def run(inputs, times=2):
    return [inputs, times]
