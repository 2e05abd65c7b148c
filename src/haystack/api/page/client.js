// Asking the service.
const TIMEOUT = 30000;

export class ApiError extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.retryAfter = retryAfter; // seconds; 0: not said
  }
}

export async function call(method, path, body = undefined, signal = undefined, key = undefined) {
  const limits = [AbortSignal.timeout(TIMEOUT), ...(signal ? [signal] : [])];
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}), ...(key ? { "Idempotency-Key": key } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.any(limits),
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service does not answer. The page keeps trying.");
  }
  if (answer.status === 204) return null;
  let data = null;
  try {
    data = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (answer.ok && data !== null) return data;
  if (answer.status === 401) throw new ApiError(401, "You are not signed in.");
  throw new ApiError(answer.status, data?.message ?? `The service answers ${answer.status}.`,
    Number(answer.headers.get("Retry-After")) || 0);
}
