"""A search that tests give values of their own, without training."""

SEARCH = """\
experiment: small
base:
  data: soundscenes
  epochs: 3
variants:
  InfoNCE: {}
search:
  space:
    loss.svr.radius: [static, dynamic]
    loss.svr.alpha: {log_uniform: [0.1, 10]}
    loss.svr.initial: {uniform: [-1, 2], when: {loss.svr.radius: static}}
    loss.svr.width: {integer: [16, 256], when: {loss.svr.radius: dynamic}}
    loss.svr.sides: {fixed: both}
  objective: val.t2a.R@1
  trials: 10
  start: [{}]
seeds: 2
baseline: InfoNCE
claims: [winner > InfoNCE on t2a.R@1]
"""
