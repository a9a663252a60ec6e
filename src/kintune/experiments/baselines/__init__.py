"""Other ways to a learning rate, each really run on the reference study's networks and targets.

Images, batches, augmentation, start, seed and number of steps are those of the study's run at the
usual rate (`kintune.experiments.reference_study`). What a method brings along takes the place of
the study's own, and nothing of it is tuned:

- **usual**: learning rate 0.01, momentum 0.9. It is a point of the study's grid: a run that the
  study has is taken, one that it lacks is run for both.
- **range-test**: the rate of a learning-rate range test (`rate_range`), then the study's training
  at that rate. The steps of the test come on top, and are counted.
- **bit**, **bit-scaled**: BiT-HyperRule (Kolesnikov et al., "Big Transfer", ECCV 2020,
  arXiv:1912.11370, section 3.3) for tasks of fewer than 20,000 images. Taken over: SGD with
  momentum 0.9 that does not look ahead, no weight decay, no MixUp (the rule has it from 20,000
  images on), and the schedule of the authors' code for such tasks (100 steps of linear warm-up, a
  tenth at 200, 300 and 400 of 500) as shares of the steps that there are; the text of the paper
  gives 30, 60 and 90 % for all sizes. Not taken over, for it would be another budget or another
  start: 500 steps of 512 images, image sizes of 128 and 384 pixels, random crops, a head of zeros.
  The learning rate is 0.003 as published, and in `bit-scaled` 0.003 * 32 / 512, in proportion to
  the batch size, as in the authors' TensorFlow notebook.
- **prodigy**: Prodigy (Mishchenko and Defazio, ICML 2024, arXiv:2306.06101) by its package, all
  values its defaults, with the cosine schedule that its authors recommend.
- **dog**, **ldog**: DoG and its layer-wise form (Ivgi, Hinder and Carmon, ICML 2023,
  arXiv:2302.12022) by their package, without a schedule, as published; the average of the weights
  that the authors ask for is what is scored, the last weights are recorded beside it. The first
  step is of 1e-4, which the package names for networks with batch normalization.
"""
