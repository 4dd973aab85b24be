"""Configuration: engine flags that suit the model, the GPU it runs on and the clients that call it.

What it is for LLMs
One image serves any model, so its flags are the program: dtype, quantization, parallelism, names, parsers,
keys. Many combinations are refused at start by the GPU or the model; others start and answer wrongly.

When to apply
Whenever a model, a GPU product or an engine version changes: the three decide together which flags hold.

When not
Sizes of memory: those are Predictable Demands.

How it is checked
Flags as the server resolves them (arguments, scripts, variables, settings files) against the GPU's
capability and count from node labels, and against the first error of a start that failed.

Sources
vLLM 0.32 configuration classes and error texts; NVIDIA compute capabilities; KServe 0.20 runtimes. Checked
2026-11-23.

Category
configuration
"""
