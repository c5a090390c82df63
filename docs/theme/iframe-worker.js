// A page that is opened from the disk may start no worker: this runs the search in a hidden frame of the page.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(script) {
      super()
      const frame = document.body.appendChild(document.createElement("iframe"))
      frame.hidden = true
      const { contentDocument: page, contentWindow: worker } = frame
      this.loaded = new Promise(done => frame.addEventListener("load", () => done(worker)))
      page.open()
      worker.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      page.write(`<script src="${script}"></script>`)
      page.close()
    }
    postMessage(data) {
      this.loaded.then(worker => worker.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {}
  }
  window.Worker = window.IFrameWorker
}
