"""Looks at the dashboard of a Redan while its master dies. Says what it sees, a line each, and ends with what was wrong.

watch.py ADDRESS: reads a line from standard input where the test has something to do.
"""

import json
import sys

from browser import Browser

MASTER = "document.querySelector('.node.is-master .address')?.textContent"


def tell(**what):
    print(json.dumps(what), flush=True)


def main(address):
    url = f"http://{address}/"
    with Browser() as browser:
        light = browser.page(url, 1280, 860)
        dark = browser.page(url, 1280, 860, dark=True)
        phone = browser.page(url, 390, 844, scale=2)
        pages = (light, dark, phone)

        for page in pages:
            page.wait("document.querySelectorAll('.node').length === 3 && document.querySelector('.node.is-master')")
        tell(master=light.look(MASTER), verdict=light.look("document.getElementById('verdict').innerText"),
             wide=[page.look("document.documentElement.scrollWidth - innerWidth") for page in pages],
             paper=[page.look("getComputedStyle(document.body).backgroundColor") for page in pages],
             hub=light.look("document.querySelector('.hub').innerText"),
             replicas=light.look("document.querySelectorAll('.wires .copy').length"))
        sys.stdin.readline()

        light.wait("document.getElementById('verdict').innerText.includes('no master')")
        light.wait("!document.getElementById('alarm').hidden")
        light.wait("document.querySelector('.node.silent')")
        tell(alarm=light.look("document.getElementById('alarm').innerText"), title=light.look("document.title"))
        sys.stdin.readline()

        light.wait(f"{MASTER} && document.getElementById('alarm').hidden")
        light.wait("document.getElementById('events').innerText.includes('the master moved')")
        # The card of the new master has gone to the top.
        light.wait("(() => { const tops = [...document.querySelectorAll('.node')].map((node) => node.getBoundingClientRect().top);"
                   " return document.querySelector('.node.is-master').getBoundingClientRect().top === Math.min(...tops); })()")
        tell(master=light.look(MASTER), events=light.look("document.getElementById('events').innerText"))

        # Keys: the page stands still, goes on, and leaves out what is no warning.
        light.key("p")
        light.wait("document.getElementById('freeze').getAttribute('aria-pressed') === 'true'")
        light.key("p")
        light.wait("document.getElementById('freeze').getAttribute('aria-pressed') === 'false'")
        light.key("w")
        light.wait("[...document.querySelectorAll('#events li.info')].every((event) => event.offsetParent === null)")
        names = light.look("[...document.querySelectorAll('button, input, a, [tabindex]')].filter((one) => one.offsetParent)"
                           ".filter((one) => !(one.innerText || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML)")
        tell(nameless=names, complaints=[said for page in pages for said in page.complaints()],
             asked=sorted({asked for page in pages for asked in page.asked()}))


if __name__ == "__main__":
    main(sys.argv[1])
