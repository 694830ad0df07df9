"""What goes wrong with a patient's records, done on purpose: pure functions of a key and a record.

| file            | corrupts                                                                  |
|-----------------|---------------------------------------------------------------------------|
| `swap.py`       | whose record it is: a modality of another patient, or of another class    |
| `noise.py`      | any numbers: graded noise                                                 |
| `image.py`      | a picture: blurred, occluded                                              |
| `sound.py`      | a recording: truncated, clipped                                           |
| `note.py`       | a text: sentences shuffled, findings negated                              |
| `laboratory.py` | a table: unit errors, a sensor that is stuck                              |

A strength of 0 leaves every record as it is.
"""
