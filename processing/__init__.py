"""What training and serving share: the pixels of a photo, the model bundle, stores of bundles.

Imports nothing else of the project, and neither TensorFlow nor Flask.
"""
