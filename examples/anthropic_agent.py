"""An agent in twenty lines over the `anthropic` SDK: command = "python examples/anthropic_agent.py {task_file}"."""

import subprocess
import sys
from pathlib import Path

import anthropic

client = anthropic.Anthropic()
schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
tool = {"name": "bash", "description": "Run a command.", "input_schema": schema}
messages: list = [{"role": "user", "content": Path(sys.argv[1]).read_text()}]
while True:
    answer = client.messages.create(model="policy", max_tokens=4096, messages=messages, tools=[tool])
    messages.append({"role": "assistant", "content": answer.content})
    results = []
    for block in answer.content:
        if block.type == "tool_use":
            command = str(block.input.get("command", ""))
            done = subprocess.run(["box", command], capture_output=True, text=True, check=False)
            results.append({"type": "tool_result", "tool_use_id": block.id, "content": done.stdout[-400:]})
    if not results:
        break
    messages.append({"role": "user", "content": results})
