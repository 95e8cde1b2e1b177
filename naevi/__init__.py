"""How lesions are segmented and measured; one subject a file. `stages/` says what happens in which order.

Words that mean one thing everywhere:

image        uint8 (H, W, 3), RGB, 0..255; in a batch float32 (N, 3, H, W), 0..1
mask         uint8 (H, W), 1 where the annotator saw the lesion, else 0; in a batch float32 (N, 1, H, W)
logits       float32 (N, 1, H, W), a network's output, any real number
probability  float32, in [0, 1], of the same shape as its logits or, for one image, (H, W)
prediction   uint8 (H, W), 1 where the probability is at least the threshold, else 0
lesions      the table of images: one row per image, by `image_id`
model        a fitted network with all that is needed to use it; `0`, `1`, … leave that fold out, `all` leaves none
result       what evaluate measured for one params.yaml, from all of its models

N images, C channels, H rows, W columns.
"""
