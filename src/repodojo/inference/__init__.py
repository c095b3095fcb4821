"""How tokens are made: the decoder, the engine, chat rendering and tool-call parsing."""
