"""The legend of the letters in shape annotations, such as `Float[Tensor, "B C H W"]`.

    B   batch              N   boxes, or samples of a data set
    C   channels           T   tokens of a sequence
    H   height, pixels     V   vocabulary
    W   width, pixels      D   features, draws
    K   classes            Z   noise
    A   actions            *S  any shape

Images are B C H W, uint8 0..255 before the device and float after `Normalize`; labels are integers 0..K-1.
"""
