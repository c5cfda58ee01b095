// Shows new messages without a reload by hand: the list is read every two seconds,
// and the page is loaded again only when their number has changed.
const { count, chosen } = document.body.dataset;

// The chosen message is brought into view by hand: scrollIntoView would also move
// the place from which the Tab key goes on.
const list = document.querySelector("nav");
const below = (document.querySelector("[aria-current]")?.getBoundingClientRect().bottom ?? 0) - list.getBoundingClientRect().bottom;
if (below > 0) list.scrollTop += below + 8;

setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch("/api/messages");
    const { messages } = await answer.json();
    if (chosen && !messages.some((message) => message.id === chosen)) location.assign("/");
    else if (messages.length !== Number(count)) location.reload();
  } catch {
    // The system is being restarted: the next look will tell.
  }
}, 2000);
