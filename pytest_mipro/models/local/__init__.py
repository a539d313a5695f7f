"""The embedded model: llama.cpp in this process, and the adapter that suits it."""
