"""The clients that people have: each asks the server as it asks OpenAI."""

import json
import shutil
import subprocess

import pytest

QUESTION = "What is 2 + 2?"
ANSWER = "[large-max#0] answer q=0.40 to: What is 2 + 2?"
CALLS_ADD = 'Please CALL add({"a": 1, "b": 2})'


@pytest.fixture
def client(served):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=served.base_url, api_key="none", max_retries=0) as made:
        yield made


def test_the_openai_client_asks_for_chat_completions(client):
    answer = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].message.content == ANSWER
    assert answer.bestroute["model"] == "large-max"
    raw = client.chat.completions.with_raw_response.create(
        model="auto-cheap", messages=[{"role": "user", "content": QUESTION}]
    )
    assert raw.headers["x-bestroute-model"] == "small-mini"
    assert {model.id for model in client.models.list()} >= {"auto", "small-mini"}
    assert client.models.retrieve("auto").id == "auto"


def test_the_openai_client_streams_chat_completions(client):
    with client.chat.completions.stream(
        model="auto", messages=[{"role": "user", "content": QUESTION}], stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == ANSWER
    assert final.usage.completion_tokens == 9


def test_the_openai_client_parses_structured_output(client):
    pydantic = pytest.importorskip("pydantic")
    made = pydantic.create_model("Point", x=(int, ...), y=(int, ...))
    messages = [{"role": "user", "content": "Give me a point."}]
    parsed = client.chat.completions.parse(model="auto", messages=messages, response_format=made)
    assert isinstance(parsed.choices[0].message.parsed.x, int)
    response = client.responses.parse(model="auto", input="Give me a point.", text_format=made)
    assert isinstance(response.output_parsed.y, int)


def test_the_openai_client_asks_for_responses(client):
    response = client.responses.create(model="auto", input=QUESTION)
    assert response.output_text == ANSWER
    assert response.bestroute["model"] == "large-max"
    with client.responses.stream(model="auto", input=QUESTION) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text
    assert final.output_text.endswith(QUESTION)


async def test_the_asynchronous_openai_client_streams(served):
    openai = pytest.importorskip("openai")
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key="none") as client:
        messages = [{"role": "user", "content": QUESTION}]
        stream = await client.chat.completions.create(model="auto", messages=messages, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == ANSWER


def test_errors_are_the_clients_own(client, serve, server, pool_of):
    import openai

    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="none", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "model_not_found"
    broken = serve(pool=pool_of(server.base_url, {"drop-2-max": (1, 1)}))
    with openai.OpenAI(base_url=broken.base_url, api_key="none", max_retries=0) as other:
        stream = other.chat.completions.create(model="auto", messages=[{"role": "user", "content": "x"}], stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
        with pytest.raises(openai.APIError):
            list(other.responses.create(model="auto", input="x", stream=True))


SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is 2 + 2?" }];
const answer = await client.chat.completions.create({ model: "auto", messages });
const stream = await client.chat.completions.create({ model: "auto", messages, stream: true });
let text = "";
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
const response = await client.responses.create({ model: "auto", input: "What is 2 + 2?" });
let deltas = "";
for await (const event of await client.responses.create({ model: "auto", input: "What is 2 + 2?", stream: true }))
  if (event.type === "response.output_text.delta") deltas += event.delta;
const runner = client.chat.completions.runTools({
  model: "auto", messages: [{ role: "user", content: 'Please CALL add({"a": 1, "b": 2})' }],
  tools: [{ type: "function", function: { name: "add", parse: JSON.parse, function: ({ a, b }) => String(a + b),
            parameters: { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } } } } }],
});
const last = await runner.finalContent();
let code = null;
try { await client.chat.completions.create({ model: "none", messages }); } catch (error) { code = error.code; }
console.log(JSON.stringify({ answer: answer.choices[0].message.content, routed: answer.bestroute.model, text,
  response: response.output_text, deltas, last, code }));
"""


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory):
    """A folder with the npm package; asked for once, and skipped where there is no registry."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline", "openai@6"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"npm cannot install openai: {done.stderr.strip()[-200:]}")
    return folder


def test_the_npm_package_asks_for_all_of_it(served, node_modules):
    (node_modules / "ask.mjs").write_text(SCRIPT)
    done = subprocess.run(
        ["node", "ask.mjs", served.base_url], cwd=node_modules, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] == ANSWER
    assert found["routed"] == "large-max"
    assert found["text"].endswith(QUESTION)
    assert found["response"].endswith(QUESTION)
    assert found["deltas"].endswith(QUESTION)
    assert found["code"] == "model_not_found"
    assert found["last"]


def test_langchains_chat_model_asks_it(served):
    langchain_openai = pytest.importorskip("langchain_openai")
    chat = langchain_openai.ChatOpenAI(model="auto", base_url=served.base_url, api_key="none", stream_usage=True)
    answer = chat.invoke(QUESTION)
    assert answer.content == ANSWER
    assert answer.usage_metadata["output_tokens"] == 9
    whole = None
    for chunk in chat.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole.content.endswith(QUESTION)
    assert whole.usage_metadata["output_tokens"] == 9

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    (call,) = chat.bind_tools([add]).invoke(CALLS_ADD).tool_calls
    assert call["args"] == {"a": 1, "b": 2}
    response = langchain_openai.ChatOpenAI(
        model="auto", base_url=served.base_url, api_key="none", use_responses_api=True
    )
    assert response.invoke(QUESTION).text.endswith(QUESTION)
    assert "".join(chunk.text for chunk in response.stream(QUESTION)).endswith(QUESTION)
    (call,) = response.bind_tools([add]).invoke(CALLS_ADD).tool_calls
    assert call["args"] == {"a": 1, "b": 2}


def test_llamaindexs_openai_like_asks_it(served):
    module = pytest.importorskip("llama_index.llms.openai_like")
    llm = module.OpenAILike(
        model="auto", api_base=served.base_url, api_key="none", is_chat_model=True, is_function_calling_model=True
    )
    assert str(llm.complete(QUESTION)).endswith(QUESTION)
    assert "".join(piece.delta or "" for piece in llm.stream_complete(QUESTION)).endswith(QUESTION)


def test_curl_asks_it(served):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": QUESTION}]})
    command = ["curl", "-s", "--noproxy", "*", f"{served.base_url}/chat/completions", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == ANSWER
