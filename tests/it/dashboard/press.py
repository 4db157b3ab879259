"""Unlocks the dashboard of a Redan with its token, and promotes a node with its button: press.py ADDRESS TOKEN NODE."""

import json
import sys

from browser import Browser

ASK = "document.getElementById('ask')"


def button(page, name, within="document"):
    found = f"[...{within}.querySelectorAll('button')].find((one) => one.offsetParent && one.textContent === '{name}')"
    page.wait(found + " !== undefined")
    page.look(found + ".click()")


def unlock(page, token):
    button(page, "Unlock actions")
    page.wait(ASK + ".open")
    page.look(f"document.getElementById('ask-token').value = '{token}'")
    button(page, "Unlock", ASK)


def main(address, token, node):
    with Browser() as browser:
        page = browser.page(f"http://{address}/", 1280, 860)
        page.wait("document.querySelector('.node.is-master')")
        buttons = page.look("document.querySelectorAll('.node .acts button').length")
        unlock(page, "x" * 20)
        page.wait("document.getElementById('ask-answer').textContent.includes('wrong')")
        button(page, "Close", ASK)
        unlock(page, token)
        card = f"[...document.querySelectorAll('.node')].find((one) => one.querySelector('.address').textContent === '{node}')"
        page.wait(f"{card}?.querySelector('.acts button') && true")
        button(page, "Promote", card)
        page.wait(ASK + ".open")
        button(page, "Promote", ASK)
        page.wait(f"document.querySelector('.node.is-master .address')?.textContent === '{node}'")
        page.wait("document.getElementById('ask-answer').textContent.includes('done: ')")
        stored = page.look("JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])")
        # A wrong token is answered with 401, which a browser calls an error.
        complaints = [said for said in page.complaints() if "401" not in said]
        print(json.dumps({"buttons": buttons, "stored": stored, "complaints": complaints,
                          "said": page.look("document.getElementById('ask-answer').textContent")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
