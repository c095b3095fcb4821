"""An agent in twenty lines over the `openai` SDK: command = "python examples/openai_agent.py {task_file}"."""

import json
import subprocess
import sys
from pathlib import Path

import openai

schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
tool = {"type": "function", "function": {"name": "bash", "description": "Run a command.", "parameters": schema}}
messages: list = [{"role": "user", "content": Path(sys.argv[1]).read_text()}]
while True:
    answer = openai.chat.completions.create(model="policy", messages=messages, tools=[tool]).choices[0].message
    messages.append(answer)
    if not answer.tool_calls:
        break
    for call in answer.tool_calls:
        command = str(json.loads(call.function.arguments).get("command", ""))
        done = subprocess.run(["box", command], capture_output=True, text=True, check=False)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": done.stdout[-400:]})
