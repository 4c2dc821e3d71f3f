"""Prints every scalar that the tensorboard package reads in a folder of event files: a line `tag step:value ...` for each tag.

Run by the tests of `events.rs` when the package is there. By hand: python tensorboard_reads.py FOLDER
"""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1])
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    print(tag, *(f"{scalar.step}:{scalar.value}" for scalar in events.Scalars(tag)))
