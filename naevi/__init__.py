"""Segment lesions and measure the result, in packages by subject. `stages/` runs them in order.

Terms that mean one thing everywhere:

image        uint8 (H, W, 3), RGB, 0..255. In a batch float32 (N, 3, H, W), 0..1.
mask         uint8 (H, W) of class indices, 0 for the background. In a batch uint8 (N, 1, H, W).
logits       float32 (N, C, H, W), a network's output, any real number.
probability  float32 (C, H, W), 0..1. With two classes C is 1: the foreground's probability. Otherwise C is K.
prediction   uint8 (H, W) of class indices, the mask that follows from a probability.
image table  one row for each image, by `image_id`. Its file is lesions.csv.
model        a trained network with all that is needed to use it. Its name is a fold, `0`, `1`, ..., which it never
             saw, or `all`, which was trained on every image. model.json and MLflow call the name `item`.
result       what evaluate measures for one params.yaml, from all of its models.
synthetic    generated, not a photograph of a patient. params.yaml and MLflow call this data set `phantoms`.

N images, C channels, K classes, H rows, W columns.
"""
