"""Pages as help centres make them: the article stays, what surrounds it goes."""

from __future__ import annotations

import pytest

from knowledge.readers import SourceFile
from knowledge.readers.html import reader

AROUND = {
    "a help centre with <main>": """<header class=header><a href=/>Larkstay</a><nav><a href=/a>Help</a></nav></header>
        <main role=main><ol class=breadcrumbs><li>Help<li>Booking</ol>
        <article><header class=article-header><h1>Cancelling</h1></header>
        <section class=article-body>{}</section>
        <div class=article-votes>Was this article helpful? <button>Yes</button> 12 out of 14 found this helpful</div>
        <div class=article-relatives><section class=related-articles><h3>Related articles</h3><a href=/b>Pets</a></section></div>
        <div class=article-comments><h2>Comments</h2><p>First!</p></div></article></main>
        <footer>© Larkstay <a href=/imprint>Imprint</a></footer>""",
    "a wiki without <main>": """<div id=header>Wiki of Larkstay <a href=/x>All pages</a></div><h1>Cancelling</h1>
        <div class=markdown-body>{}</div>
        <div id=sidebar><ul><li><a href=/1>One</a><li><a href=/2>Two</a></ul></div><div>Imprint, Related articles</div>""",
    "a blog with microdata": """<div class=top>Menu</div><h1>Cancelling</h1><div itemprop=articleBody>{}</div>
        <div class=share-buttons>Share</div><div id=comments>First! Related articles</div>""",
    "a page with a banner": """<div class=cookie-consent>We use cookies. <button>Accept</button></div><main><h1>Cancelling</h1>{}
        <div class=newsletter-signup>Related articles in your inbox</div></main>""",
}
ARTICLE = """<p>You can cancel up to five days before check-in and get everything back.</p>
<ul><li>Open the booking<li>Press Cancel</ul><table><tr><th>Days<th>Refund<tr><td>5<td>100 %</table>"""


@pytest.mark.parametrize("page", sorted(AROUND))
def test_the_article_stays_and_what_surrounds_it_goes(page: str) -> None:
    html = f"<html><head><title>Cancelling | Larkstay</title></head><body>{AROUND[page].format(ARTICLE)}</body></html>"
    [document] = reader.read(SourceFile("a.html", html.encode())).documents
    assert document.title == "Cancelling"
    assert document.text == (
        "You can cancel up to five days before check-in and get everything back.\n\n- Open the booking\n- Press Cancel\n\n"
        "| Days | Refund |\n| --- | --- |\n| 5 | 100 % |"
    )


def test_a_small_marked_part_is_not_the_article() -> None:
    html = f"<body><h1>Cancelling</h1>{ARTICLE}<div class=article-content><p>A teaser.</p></div></body>"
    [document] = reader.read(SourceFile("a.html", html.encode())).documents
    assert "Press Cancel" in document.text
