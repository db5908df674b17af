"""The samplers: each turns noise into latents by asking a network for the velocity, step by step.

`sampler` holds what the denoising loop calls, `flow` what the samplers share, and each of the other
files is one sampler: a `schedule` of noise levels and a `step` down it.
"""
