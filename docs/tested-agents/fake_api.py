#!/usr/bin/env python3
"""A model's API that is made up, for four dialects: Anthropic's messages, OpenAI's responses and chat
completions, Gemini's generateContent.

    python3 fake_api.py [PORT [LOG]]        listens on 127.0.0.1

Whatever it is asked, it has the agent run `sh step.sh one`, then `sh step.sh two`, by the agent's own tool
for commands, and then says ALL-DONE. How far a conversation is, it sees by the results of tools in it. It
needs no key, and any key will do. The log has a line for each request.
"""

import gzip
import itertools
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STEPS = ["sh step.sh one", "sh step.sh two"]
LAST_WORD = "ALL-DONE"
# The names that agents give to their tool for commands, the better one first.
TOOLS = ["exec_command", "shell_command", "run_shell_command", "Bash", "bash", "shell"]
COUNTER = itertools.count(1)


def command_for(names, results):
    """The tool and its arguments for the next step; nothing where all is done, or there is no such tool."""
    tool = next((name for name in TOOLS if name in names), None)
    if tool is None or results >= len(STEPS):
        return None
    step = STEPS[results]
    if tool == "exec_command":
        return tool, {"cmd": step}
    if tool == "shell":
        return tool, {"command": ["sh", "-c", step]}
    if tool == "shell_command":
        return tool, {"command": step}
    if tool == "run_shell_command":
        return tool, {"command": step, "description": "take a step", "is_background": False}
    return tool, {"command": step, "description": "take a step"}


def events(pairs):
    """Server-sent events, of names and data; a name may be missing."""
    lines = []
    for name, data in pairs:
        lines.append((f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n")
    return "text/event-stream", "".join(lines).encode()


def whole(data):
    return "application/json", json.dumps(data).encode()


def anthropic(body):
    results = json.dumps(body.get("messages", [])).count('"tool_result"')
    call = command_for([tool.get("name") for tool in body.get("tools", [])], results)
    if call:
        block = {"type": "tool_use", "id": f"toolu_{next(COUNTER)}", "name": call[0], "input": call[1]}
        empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
    else:
        block = {"type": "text", "text": LAST_WORD}
        empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": LAST_WORD}
    stop = "tool_use" if call else "end_turn"
    message = {
        "type": "message", "id": f"msg_{next(COUNTER)}", "role": "assistant", "model": body.get("model"),
        "content": [block], "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    if not body.get("stream"):
        return whole(message)
    start = {**message, "content": [], "stop_reason": None}
    end = {"stop_reason": stop, "stop_sequence": None}
    return events([(data["type"], data) for data in [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]])


def responses(body):
    results = json.dumps(body.get("input", [])).count('_call_output"')
    call = command_for([tool.get("name") for tool in body.get("tools", [])], results)
    number = next(COUNTER)
    if call:
        item = {
            "type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed",
            "name": call[0], "arguments": json.dumps(call[1]),
        }
        empty = {**item, "arguments": "", "status": "in_progress"}
    else:
        text = {"type": "output_text", "text": LAST_WORD, "annotations": []}
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [text]}
        empty = {**item, "content": [], "status": "in_progress"}
    response = {
        "id": f"resp_{number}", "object": "response", "created_at": int(time.time()), "model": body.get("model"),
        "status": "completed", "output": [item],
        "usage": {
            "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2,
        },
    }
    if not body.get("stream"):
        return whole(response)
    sent = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
    ]
    if not call:
        sent.append({
            "type": "response.output_text.delta", "item_id": item["id"], "output_index": 0, "content_index": 0,
            "delta": LAST_WORD,
        })
    sent.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    sent.append({"type": "response.completed", "response": response})
    return events([(data["type"], data) for data in sent])


def chat(body):
    results = sum(message.get("role") == "tool" for message in body.get("messages", []))
    call = command_for([tool["function"]["name"] for tool in body.get("tools") or []], results)
    number = next(COUNTER)
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message = {"role": "assistant", "content": None, "tool_calls": [
            {"index": 0, "id": f"call_{number}", "type": "function", "function": function},
        ]}
    else:
        message = {"role": "assistant", "content": LAST_WORD}
    reason = "tool_calls" if call else "stop"
    head = {"id": f"chat_{number}", "created": int(time.time()), "model": body.get("model")}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    head["object"] = "chat.completion.chunk"
    kind, first = events([
        (None, {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]}),
        (None, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
        (None, {**head, "choices": [], "usage": usage}),
    ])
    return kind, first + b"data: [DONE]\n\n"


def gemini(body, stream):
    results = json.dumps(body.get("contents", [])).count('"functionResponse"')
    declared = [one for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    call = command_for([one.get("name") for one in declared], results)
    part = {"functionCall": {"name": call[0], "args": call[1]}} if call else {"text": LAST_WORD}
    if body.get("generationConfig", {}).get("responseMimeType") == "application/json":
        # A question of the agent to itself, such as which model to take.
        part = {"text": json.dumps({"reasoning": "none", "model_choice": "flash", "complexity_score": 1,
                                    "complexity_reasoning": "none"})}
    answer = {
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
    }
    return events([(None, answer)]) if stream else whole(answer)


def answer(path, body):
    """Status, kind and content of the answer to a request with a body."""
    if path.endswith("/count_tokens"):
        return 200, *whole({"input_tokens": 1})
    if path.endswith(":countTokens"):
        return 200, *whole({"totalTokens": 1})
    if path.endswith("/messages"):
        return 200, *anthropic(body)
    if path.endswith("/responses"):
        return 200, *responses(body)
    if path.endswith("/chat/completions"):
        return 200, *chat(body)
    if "enerateContent" in path:
        return 200, *gemini(body, stream=":stream" in path)
    return 404, *whole({"error": {"type": "not_found_error", "message": "the fake API has none"}})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log = None

    def log_message(self, *_):
        pass

    def body(self):
        size = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(size)
        while "chunked" in (self.headers.get("transfer-encoding") or ""):
            size = int(self.rfile.readline().split(b";")[0], 16)
            raw += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                break
        return raw

    def reply(self):
        raw = self.body()
        path = self.path.partition("?")[0]
        print(time.strftime("%H:%M:%S"), self.command, path, len(raw), file=self.log, flush=True)
        if self.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        if self.headers.get("upgrade"):
            status, kind, content = 426, *whole({"error": {"message": "no websocket"}})
        elif self.command == "POST":
            status, kind, content = answer(path, body)
        else:
            status, kind, content = 200, *whole({})
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = reply


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        # A connection that was cut: what these tests are about.
        pass


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8808
    Handler.log = open(sys.argv[2], "a") if len(sys.argv) > 2 else sys.stderr
    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
