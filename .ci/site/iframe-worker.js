// The search runs in a worker, and browsers start none from the disk (file:). There, its script runs in a frame, whose
// global scope stands for the worker's. Zensical would load such a script from elsewhere; it looks for this name.
if (location.protocol === "file:") {
  window.Worker = class {
    onmessage = null;
    onerror = null;

    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const scope = this.frame.contentWindow;
      scope.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      // Messages that come before the script has run wait for it.
      this.loaded = new Promise((resolve) => {
        const script = scope.document.createElement("script");
        script.src = url;
        script.onload = () => resolve(scope);
        script.onerror = (event) => this.onerror?.(event);
        scope.document.body.append(script);
      });
    }

    postMessage(data) {
      this.loaded.then((scope) => scope.onmessage({ data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
