"""Where code runs: a box with a private view of an environment, behind the Sandbox protocol.

`factory.LocalFactory` is the way in; `lazy` keeps an episode free of cost until it runs something; `local` holds the
namespace boxes of Linux, `plain` the named fallback without isolation, `fake` an in-memory stand-in.
"""
