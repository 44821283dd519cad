"""Ways to repair, one module each: a situation goes in, a proposal or the reason why there is none comes out."""
