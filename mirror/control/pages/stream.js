// The stream of server-sent events. Rules: a lost stream is told at once and tried again, after 1, 2, 4
// … at most 15 seconds; meanwhile (as when too many watch) the document is asked for at each try; silence
// counts as loss, for a connection may die without a word; a hidden page lets its place go.

const FIRST_WAIT_S = 1;
const LONGEST_WAIT_S = 15;
const SILENT_S = 8;
const SECTIONS = ["mirror", "fills", "upstreams", "trust", "processes", "events", "store", "traffic"];

// `onSections(sections)` gets what is new; `onState({word, seconds})`: live, lost, paused.
export function follow({ onSections, onState }) {
  let source = null;
  let waitS = FIRST_WAIT_S;
  let heardAt = 0;
  let timer = 0;
  let countdown = 0;

  const stop = () => {
    clearTimeout(timer);
    clearInterval(countdown);
    source?.close();
    source = null;
  };

  const heard = () => {
    heardAt = Date.now();
    if (waitS !== FIRST_WAIT_S || !heard.isLive) onState({ word: "live" });
    heard.isLive = true;
    waitS = FIRST_WAIT_S;
  };

  const open = () => {
    stop();
    source = new EventSource("/events");
    heardAt = Date.now();
    for (const name of SECTIONS) {
      source.addEventListener(name, (event) => {
        heard();
        onSections({ [name]: JSON.parse(event.data) });
      });
    }
    source.addEventListener("error", lost);
    countdown = setInterval(() => {
      if (Date.now() - heardAt > SILENT_S * 1000) lost();
    }, 1000);
  };

  const lost = () => {
    stop();
    heard.isLive = false;
    let left = waitS;
    waitS = Math.min(waitS * 2, LONGEST_WAIT_S);
    onState({ word: "lost", seconds: left });
    countdown = setInterval(() => {
      left = Math.max(0, left - 1);
      onState({ word: "lost", seconds: left });
    }, 1000);
    timer = setTimeout(() => {
      ask();
      open();
    }, left * 1000);
  };

  const ask = async () => {
    try {
      const response = await fetch("/api/overview", { cache: "no-store" });
      if (response.ok) onSections(await response.json());
    } catch {
      // the keeper is away: the next try tells
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop();
      heard.isLive = false;
      onState({ word: "paused" });
    } else {
      waitS = FIRST_WAIT_S;
      open();
    }
  });
  open();
}
