// The HTTP API for this page: the token, refusals as errors, and coming again when it is busy.

const KEY = "omnial-token";
const TRIES = 5;

export class ApiError extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

function authorised(headers = {}) {
  const token = sessionStorage.getItem(KEY);
  return token === null ? headers : { ...headers, Authorization: `Bearer ${token}` };
}

let asking = null;

// One dialog, however many requests met the refusal at the same time.
function askToken() {
  if (asking === null) {
    const dialog = document.getElementById("login");
    const field = document.getElementById("token");
    asking = new Promise((resolve) => {
      const closed = () => {
        if (field.value === "") return dialog.showModal();
        dialog.removeEventListener("close", closed);
        sessionStorage.setItem(KEY, field.value);
        field.value = "";
        asking = null;
        return resolve();
      };
      dialog.addEventListener("close", closed);
      dialog.showModal();
    });
  }
  return asking;
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

async function reason(response) {
  try {
    return (await response.json()).reason ?? response.statusText;
  } catch {
    return response.statusText;
  }
}

export async function call(path, options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: authorised(options.headers) });
    } catch {
      throw new ApiError(0, "The service cannot be reached.");
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await askToken();
    } else if (response.status === 429 && attempt < TRIES) {
      await pause(Number(response.headers.get("Retry-After") ?? 1));
    } else {
      throw new ApiError(response.status, await reason(response));
    }
  }
}

export async function json(path, options) {
  return (await call(path, options)).json();
}

export async function blobUrl(path) {
  return URL.createObjectURL(await (await call(path)).blob());
}

export function inspect(file, name, product) {
  const query = new URLSearchParams({ map: "true", suspects: "true", name });
  if (product !== "") query.set("class", product);
  const headers = { "Content-Type": "application/octet-stream" };
  return json(`v1/inspect?${query}`, { method: "POST", body: file, headers });
}

export function review(id, word) {
  return json(`v1/history/${id}/review`, {
    method: "PUT",
    body: JSON.stringify({ review: word }),
    headers: { "Content-Type": "application/json" },
  });
}
