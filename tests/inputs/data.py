"""Valid arguments of the data package's functions of tensors."""

from tests.draws import random
from tests.inputs import Example

EXAMPLES = {
    "block_mean": Example({"image": random(6, 5), "factor": 2}),
    "centre_crop": Example({"image": random(5, 5), "size": 3}),
}
