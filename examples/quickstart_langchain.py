"""A LangChain chain with BestRouteChat in the place of ChatOpenAI.

Runs against any OpenAI-compatible endpoint: set OPENAI_BASE_URL and OPENAI_API_KEY.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from bestroute import MajorityVote, Price
from langchain_bestroute import BestRouteChat

chat = BestRouteChat(
    models={"small": ChatOpenAI(model="gpt-4o-mini"), "large": ChatOpenAI(model="gpt-4o")},
    prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
    router=lambda query: ("small", 3),  # or the folder of a trained router
    reward_model=MajorityVote(),
)

chain = ChatPromptTemplate.from_template("What is the capital of {country}?") | chat | StrOutputParser()
print(chain.invoke({"country": "France"}))

message = chat.invoke("What is 12 * 7?")
about = message.response_metadata["bestroute"]
print(f"{about['model']}, best of {about['n']}: {about['cost_usd']:.2g} USD; all samples: {message.usage_metadata}")
