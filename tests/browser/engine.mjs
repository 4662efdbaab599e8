// The package in a blank page: `window.engine` is loaded, functions are run beside it.

/** The kernels that a software adapter is faster with: tests do not measure that anew in each profile. */
export const SOFTWARE = { decode: 'thread', prefill: 'thread-subgroups-tile8' };

/** Loads `source` (a URL, or "synthetic-tiny") into `window.engine` and returns its facts. */
export async function load(page, source, options = {}) {
  return loadAs(page, source, { variant: SOFTWARE, ...options });
}

/** The same with just these options, as an app does. */
export async function loadAs(page, source, options) {
  await openBlank(page);
  return page.evaluate(async ({ source, options }) => {
    window.engine?.dispose();
    window.engine = await window.MobileMoE.load(source, options);
    return window.engine.facts;
  }, { source, options });
}

/** A blank page that knows the package. */
export async function openBlank(page) {
  if (page.url() !== 'about:blank') return;
  await page.goto('/pages/blank.html');
  await page.evaluate(async () => {
    const { MobileMoE, store } = await import('/pkg/dist/index.js');
    Object.assign(window, { MobileMoE, store });

    /** The files of a served checkpoint as the user would pick them; `changes` replaces or (null) leaves out some. */
    window.pick = async (folder, changes = {}) => {
      const files = [];
      for (const name of ['config.json', 'model.safetensors']) {
        const bytes = name in changes ? changes[name] : await (await fetch(folder + name)).blob();
        if (bytes !== null) files.push(new File([bytes], name));
      }
      return files;
    };

    /** What a promise rejects with. */
    window.failure = async (promise) => {
      try {
        await promise;
      } catch ({ name, code, message }) {
        return { name, code, message };
      }
      throw new Error('expected a failure, but it succeeded');
    };
  });
}

/** Waits until no worker runs; the browser ends them a moment after they are told. */
export async function workersGone(page) {
  const giveUp = performance.now() + 30_000;
  while (page.workers().length > 0) {
    if (performance.now() > giveUp) throw new Error(`${page.workers().length} workers still run`);
    await page.waitForTimeout(20);
  }
}
