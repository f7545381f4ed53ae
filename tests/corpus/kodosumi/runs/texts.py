"""Several texts are joined: paragraphs for Markdown, lines for everything else."""

from kodosumi.core import Tracer


def run(inputs: dict, tracer: Tracer):
    tracer.markdown_sync("# Title", "text", 3)
    tracer.html_sync("<b>a</b>", "<i>b</i>")
    tracer.text_sync("a", "b")
    tracer.debug_sync("a", "b")
    tracer.warning_sync("careful", "now")
