"""Tillerman sees, diagnoses and repairs LLM workloads on Kubernetes."""
