"""What the steps share: processes, the server, HTTP, tools, a proxy, a browser."""
