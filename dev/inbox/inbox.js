// Shows new messages without a reload by hand: the list is read every two seconds,
// and the page is loaded again only when their number has changed.
const shown = Number(document.body.dataset.count);
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch("/api/messages");
    const { messages } = await answer.json();
    if (messages.length !== shown) location.reload();
  } catch {
    // The system is being restarted: the next look will tell.
  }
}, 2000);
