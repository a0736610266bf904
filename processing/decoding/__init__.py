"""Photos are decoded in a process of their own, which can be ended.

Decoders have faults, and files can be made that keep them busy for minutes or make them take
gigabytes. `decoder` runs in the process that wants the photo and imports no decoder; `child` is the
process that decodes, under limits; `wire` is what they say to each other.
"""
