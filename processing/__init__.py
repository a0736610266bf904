"""What training and serving must agree on: pixels, the model bundle, where bundles live.

Imports nothing else of the project, and neither TensorFlow nor Flask.
"""
