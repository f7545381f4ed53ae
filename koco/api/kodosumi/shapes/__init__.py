"""The data of koco in Kodosumi's shapes: elements, payloads, events, executions, HTML.

Nothing here knows of requests. Begin with `payloads`.
"""
