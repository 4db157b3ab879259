// Orders to Redan, for who has the token: it is asked for once, kept in this page's memory alone, and sent in a header, which
// no other page can do.
import { make, say } from "./words.js";

export class Orders {
  constructor(at) {
    this.at = at;
    this.token = null;
    this.offered = false;
    at("unlock").addEventListener("click", () => this.unlock());
  }

  // Redan takes orders from pages at all.
  offer(offered) {
    this.offered = offered;
    this.at("unlock").hidden = !offered;
    say(this.at("unlock"), this.token === null ? "Unlock actions" : "Lock actions");
  }

  unlocked() {
    return this.offered && this.token !== null;
  }

  async unlock() {
    if (this.token !== null) {
      this.token = null;
      return this.offer(this.offered);
    }
    const token = await this.ask("Unlock actions", "With the token from `admin_token_file` this page can give orders until it is closed.", "Unlock", true);
    if (!token) return;
    const { ok, words } = await this.send("PING", token);
    if (ok) this.token = token;
    else this.tell("Not unlocked", words);
    this.offer(this.offered);
  }

  ofNode(element, group, node) {
    element.hidden = !this.unlocked() || node.is_master || node.state === "down";
    if (element.hidden || element.dataset.state === node.state) return;
    element.dataset.state = node.state;
    const drained = node.state === "drained";
    element.replaceChildren(
      this.button("Promote", `Make ${node.address} the master of '${group.name}'? Writes wait meanwhile; none is lost.`, `PROMOTE ${node.address} GROUP ${group.name}`),
      drained
        ? this.button("Undrain", `Let ${node.address} serve reads again?`, `UNDRAIN ${node.address} GROUP ${group.name}`)
        : this.button("Drain", `Give ${node.address} no new reads? What it owes it still answers.`, `DRAIN ${node.address} GROUP ${group.name}`));
  }

  ofGroup(element, group) {
    element.hidden = !this.unlocked();
    const paused = group.paused_seconds_left !== null && group.paused_seconds_left !== undefined;
    if (element.hidden || element.dataset.paused === String(paused)) return;
    element.dataset.paused = String(paused);
    element.replaceChildren(paused
      ? this.button("Resume", `Let the commands to '${group.name}' go on?`, `RESUME ${group.name}`)
      : this.button("Pause", `Hold all commands to '${group.name}' for a minute, or until it is resumed? Clients wait and stay connected.`, `PAUSE ${group.name}`));
  }

  button(name, question, order) {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", async () => {
      if (!(await this.ask(name, question, name, false))) return;
      button.disabled = true;
      const { words } = await this.send(order, this.token);
      button.disabled = false;
      this.tell(name, words);
    });
    return button;
  }

  async send(order, token) {
    try {
      const answer = await fetch("order", { method: "POST", headers: { Authorization: `Bearer ${token}` }, body: order });
      return { ok: answer.ok, words: (await answer.text()).trim() };
    } catch (error) {
      return { ok: false, words: `Redan cannot be reached: ${error.message}` };
    }
  }

  // The token, `true`, or nothing.
  ask(title, words, yes, withToken) {
    return new Promise((resolve) => {
      this.fill(title, words, yes, withToken, null);
      const dialog = this.at("ask");
      dialog.onclose = () => {
        // The word of the one before comes later than who opens this one at once.
        if (dialog.open) return;
        const given = withToken ? this.at("ask-token").value : true;
        this.at("ask-token").value = "";
        resolve(dialog.returnValue === "yes" ? given : null);
      };
      dialog.returnValue = "no";
      dialog.showModal();
    });
  }

  tell(title, words) {
    this.fill(title, "", null, false, words || "done");
    this.at("ask").onclose = null;
    this.at("ask").showModal();
  }

  fill(title, words, yes, withToken, answer) {
    say(this.at("ask-title"), title);
    say(this.at("ask-words"), words);
    this.at("ask-label").hidden = !withToken;
    this.at("ask-yes").hidden = yes === null;
    say(this.at("ask-yes"), yes ?? "");
    say(this.at("ask-no"), yes === null ? "Close" : "Cancel");
    this.at("ask-answer").hidden = answer === null;
    say(this.at("ask-answer"), answer ?? "");
  }
}
