"""The web app. Never imports TensorFlow, Keras or `training`.

This file imports nothing, so that the command line can be interrupted as soon as it runs.
"""
