// Calls of the gateway's API, as the person of one session. The console can do what the API lets that person do.

/** What the gateway refused, as application/problem+json says it. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = problem?.code ?? 'unreachable';
    this.errors = problem?.errors ?? [];
    this.requestId = problem?.request_id;
  }
}

/** 128 random bits, as hexadecimal digits. */
function fresh() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (octet) => octet.toString(16).padStart(2, '0')).join('');
}

async function ask(method, path, { token, body, once } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (once) headers['idempotency-key'] = fresh();
  let response;
  try {
    response = await fetch(path, {
      method, headers, credentials: 'omit', cache: 'no-store', redirect: 'error',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, null);
  }
  const text = await response.text();
  let answer = null;
  try { answer = text ? JSON.parse(text) : null; } catch { /* not JSON: only a proxy answers so */ }
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

/** First step, and the second too if there is a code. */
export const signIn = (account, password, code) =>
  ask('POST', '/v1/sign-in', { body: code ? { account, password, code } : { account, password } });

/** Second step. */
export const secondStep = (pendingToken, proof) =>
  ask('POST', '/v1/sign-in:second-factor', { body: { pending_token: pendingToken, ...proof } });

/** What a session may call; `ended` is told when the gateway does not take its token any more. */
export class Caller {
  constructor(token, ended = () => {}) {
    this.ask = async (method, path, options) => {
      try {
        return await ask(method, path, { token, ...options });
      } catch (refusal) {
        if (refusal.status === 401) ended();
        throw refusal;
      }
    };
  }

  get(path) { return this.ask('GET', path); }

  /** Does something: a repetition by the network does it once. */
  act(path, body) { return this.ask('POST', path, { body, once: true }); }

  /** What must not be kept as an answer: new secrets, the end of the session. */
  post(path, body) { return this.ask('POST', path, { body }); }

  put(path, body) { return this.ask('PUT', path, { body }); }
}
