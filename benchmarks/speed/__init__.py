"""The parts of `benchmarks.training`: what is trained on, our side of the race, and its table.

| file         | holds                                                          |
|--------------|----------------------------------------------------------------|
| `records.py` | avmnist as arrays, so that every side trains on the same       |
| `ours.py`    | the framework's training, epoch after epoch                    |
| `race.py`    | contenders by turns, an epoch each; seconds, and to which loss |
| `seeds.py`   | 16 seeds of a fusion together against 16 in turn               |
"""
